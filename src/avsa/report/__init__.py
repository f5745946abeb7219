"""All results beside the paper's: records, tables, plots, pictures and the page that holds them."""
