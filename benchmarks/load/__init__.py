"""How load is made: callers who wait for their answers, and arrivals that wait for nobody."""
