"""The monitor of queries in service: what it remembers lies in the service's database, and what follows is policy."""
