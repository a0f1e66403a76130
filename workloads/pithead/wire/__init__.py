"""Wires a hub: databases, topics, the wallets' addresses and the schemes' slots, one task each.

Each is run as a process by a Job, may be repeated and cut off at any moment, and
tells its result. They know of one another only by their order: databases before
wallets, rewards running before schemes.
"""
