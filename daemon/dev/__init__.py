"""What `signaged dev` and the tests start beside the daemon: embedded servers and a sample world, never production."""
