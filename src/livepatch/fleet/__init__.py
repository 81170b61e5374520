"""Many nodes: a rollout in stages that stops by itself.  Nothing here touches a function."""
