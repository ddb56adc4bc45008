select
    `line id`,
    `select`,
    `user's "note"`
from {{ ref('log_lines') }}
