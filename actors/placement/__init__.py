"""Who holds which device, on which node: leases, slots, rounds, and the processes under them."""
