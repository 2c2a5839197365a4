"""How the service's database came to its tables, version by version (Alembic); run by ``salus.serve.database``."""

#: The newest version, and the table that says which one a database has.
HEAD, VERSION_TABLE = "0002", "salus_version"
