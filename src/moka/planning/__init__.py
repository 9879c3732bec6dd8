"""Where the operations of a program run: devices, costs, rules and the assignment; a program and devices make a `Plan`."""
