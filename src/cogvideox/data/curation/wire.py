"""What the decoding process and the one that it serves agree on."""

import struct

MESSAGE_HEAD = struct.Struct("<I")
"""Length in bytes of a message's JSON, which comes next and names the arrays that follow."""
NO_PTS = -(2**63)
"""A frame without timestamp."""
