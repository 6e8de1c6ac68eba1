"""What nights left: a history, what changed, which never began, slow slides, the page of a watch."""
