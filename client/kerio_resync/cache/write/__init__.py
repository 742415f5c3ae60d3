"""The writing of mutations, inside one transaction of the writer."""
