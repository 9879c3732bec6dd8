"""``model.mil``, the text of a compiled ML Program, to and from the ``MIL.proto`` message.

Apple publishes the message but not the text; the grammar here is what real files show. Weights stay references to their file.
"""

from moka.formats.mil_text.parser import parse_program
from moka.formats.mil_text.printer import print_program, write_program

__all__ = ["parse_program", "print_program", "write_program"]
