"""The data sheet: a clip store on one page."""
