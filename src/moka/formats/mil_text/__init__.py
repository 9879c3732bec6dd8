"""``model.mil``, the text of a compiled ML Program, to and from the ``MIL.proto`` message.

Apple publishes the message but not the text; the grammar here is what real files show, and ``unverified_forms`` says where it is Moka's
own. Weights stay references to their file.

A text does not hold: the order of a function's inputs and of a dictionary's entries (both are sorted), doc strings, the program's version
number (always 1), blocks for other opsets than the function's, attributes of types, which field of ``TensorValue`` elements are in, and
sign and payload of a NaN.
"""

from moka.formats.mil_text.parser import parse_program
from moka.formats.mil_text.printer import print_model, print_program, write_model, write_program
from moka.formats.mil_text.unverified import unverified_forms

__all__ = ["parse_program", "print_model", "print_program", "unverified_forms", "write_model", "write_program"]
