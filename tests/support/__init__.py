"""What the tests of several tiers use: labs, an operator on a lab, inventories, hosts of a test's own."""
