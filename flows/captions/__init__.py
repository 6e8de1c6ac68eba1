"""Captions of a LLaVA through a tower as it is and edited: by themselves, in other flows, in reports and tables, and the demo's."""
