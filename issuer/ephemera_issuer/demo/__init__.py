"""The main job on real processes: an issuer, a calling service and an API on loopback."""
