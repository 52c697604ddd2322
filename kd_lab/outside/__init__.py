"""What may come from outside: everything that a store, a server, a folder or a file says passes through here.

    ids         run ids, before they become names of files
    paths       what of a folder is read, written and removed
    nodes       classes that a store may name (and `trust=`)
    address     the address of a store, and the login in it
    database    SQLite files of other programs
    archives    files that declare more than they hold
    text        what leaves for a terminal, a table, a page of MLflow
    console     the terminal itself

docs/security.md says in a page what is trusted and what is not.
"""
