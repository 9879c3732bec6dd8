"""``model.mil``, the text of a compiled ML Program, to and from the ``MIL.proto`` message.

Apple publishes the message but not the text; the grammar here is what real files show. Weights stay references to their file.
"""

from moka.formats.mil_text.parser import parse_program
from moka.formats.mil_text.printer import print_model, print_program, write_model, write_program
from moka.formats.mil_text.unverified import unverified_forms

__all__ = ["parse_program", "print_model", "print_program", "unverified_forms", "write_model", "write_program"]
