"""Launch after launch until no budget is open."""
