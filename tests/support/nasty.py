"""Names and values that would be read as SQL, as a template or as a format string if they were not quoted."""

from hypothesis import strategies as st

PIECES = (
    "'", '"', "`", ";--", "; drop table x; --", "'||'", "$$", "$1", "$x$", "${env:HOME}", "%", "%s", "%(x)s", ":x", "?",
    "{{ 1/0 }}", "{%", "%}", "{#", "{fn now()}", "\\", "\\'", "/*", "*/", "--", "\n", "\t", " ", "\u00a0", "\u202e",
    "é", "😀", "select", "null", "a",
)  # fmt: skip
MAX_NAME = 63  # bytes of a name in PostgreSQL

texts = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join)
names = texts.filter(lambda name: len(name.encode()) <= MAX_NAME)
