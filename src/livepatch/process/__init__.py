"""The patches of this process: its one stack, the way from one stack to the next, and the public calls on top."""
