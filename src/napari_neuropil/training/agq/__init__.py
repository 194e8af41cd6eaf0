"""Training of AGQ: `recipe` is the row of the table, `loss` what is made small."""
