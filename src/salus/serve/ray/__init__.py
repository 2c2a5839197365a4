"""Guards on Ray Serve: workers on the machines of a cluster, as many as load asks for, with one log."""
