"""What this process knows of the contents of unfinished uploads: their digests so far, so that whoever sent everything
in order through one gateway need not wait until it is read back.

A stream that broke off is gone on with a little before where it was, so the last few digests are kept. Whether they
are of the chunks that the upload has is found out when it is finished.
"""

from __future__ import annotations

from collections import OrderedDict

from cloudgrpc.actions.intake import IDS_AHEAD
from cloudgrpc.core.content import Content

UPLOADS = 64
MARKS = IDS_AHEAD + 1  # no further apart are the chunk that arrived last and the first that is not stored


class Contents:
    def __init__(self) -> None:
        self._marks: OrderedDict[str, dict[int, Content]] = OrderedDict()  # by upload and position

    def take_up(self, upload_id: str, position: int) -> Content | None:
        """The content of the chunks before `position`, to be gone on with; None when it is not known."""
        marks = self._marks.get(upload_id, {})
        for later in [one for one in marks if one > position]:
            del marks[later]
        if position == 0:
            return Content()
        return marks[position].copy() if position in marks else None

    def note(self, upload_id: str, content: Content) -> None:
        marks = self._marks.setdefault(upload_id, {})
        self._marks.move_to_end(upload_id)
        marks[content.position] = content.copy()
        marks.pop(content.position - MARKS, None)
        while len(self._marks) > UPLOADS:
            self._marks.popitem(last=False)

    def furthest(self, upload_id: str) -> Content:
        marks = self._marks.get(upload_id, {})
        return marks[max(marks)].copy() if marks else Content()

    def forget(self, upload_id: str) -> None:
        self._marks.pop(upload_id, None)
