"""A report goes into a bundle without the pairs that it shows, or not at all."""

import json

from tasks.auditing.report_page import captions_in, page_without_pairs

PAGE = """<h1>run</h1>
<h2>Metrics</h2><table>40.0</table>
<h2>Pairs that flipped</h2>
<p>12 of 40 pairs</p><img class="thumb" src="data:image/jpeg;base64,AAAA"><bdi>a person with a &#34;knife&#34;</bdi>
<h2>What queries retrieve</h2>
<h3>safe</h3><details class="hidden"><bdi>another caption</bdi></details>
<h2>Edited weights per layer</h2>
<p>3 of 40</p>
"""
CAPTIONS = ['a person with a "knife"', "another caption"]


def test_sections_of_pairs_are_left_out_and_all_others_stay():
    page = page_without_pairs(PAGE, CAPTIONS)
    assert page is not None
    assert page.count("Left out of this copy") == 2
    for kept in ("<h1>run</h1>", "40.0", "<h2>Edited weights per layer</h2>", "3 of 40"):
        assert kept in page
    for gone in ("data:image", "knife", "another", "12 of 40 pairs"):
        assert gone not in page


def test_what_folds_below_the_pairs_stays():
    page = page_without_pairs(PAGE.replace("<h2>Edited weights per layer</h2>", '<details class="more">'), CAPTIONS)
    assert page is not None
    assert '<details class="more">\n<p>3 of 40</p>' in page


def test_a_page_that_would_keep_a_picture_or_a_caption_is_left_out_as_a_whole():
    other = PAGE.replace("<h2>What queries retrieve</h2>", "<h2>Another heading</h2>")
    assert page_without_pairs(other, CAPTIONS) is None
    assert page_without_pairs(other, []) is not None
    assert page_without_pairs(PAGE.replace("3 of 40", '<img src="x.png">'), CAPTIONS) is None


def test_captions_are_found_however_deep_a_gallery_holds_them():
    content = {"kinds": [{"queries": [{"member": {"caption": "one", "pair_id": "x"}}]}], "rows": [{"caption": "two"}]}
    content["none"] = {"caption": None}
    assert sorted(captions_in(json.dumps(content))) == ["one", "two"]
