"""Tag N' Train dijet searches on the coffea stack."""
