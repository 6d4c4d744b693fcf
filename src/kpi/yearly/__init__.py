"""Each report year judged as a whole, and the pages that show it."""
