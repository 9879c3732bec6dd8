"""The one program: types, values, operations, verifier, printer, rewriting."""
