"""What the decoding process and the one that it serves agree on."""

import errno
import struct

MESSAGE_HEAD = struct.Struct("<I")
"""Length in bytes of a message's JSON, which comes next and names the arrays that follow."""
NO_PTS = -(2**63)
"""A frame without timestamp."""
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What is wrong with the disk, and not with the file that is decoded."""
