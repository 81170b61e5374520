"""May this patch go into this process: facts in, findings out.  Nothing here touches a live object."""
