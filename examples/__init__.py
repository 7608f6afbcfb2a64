"""Projects as a user of Weighbridge would write them."""
