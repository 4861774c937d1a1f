"""Files made to do harm, opened in processes that may be harmed."""
