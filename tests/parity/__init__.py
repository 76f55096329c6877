"""Parity with the authors' released code, at the tolerances that came with the golden vectors."""
