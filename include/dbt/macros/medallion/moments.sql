{#-
  SQL of PostgreSQL for a cursor, whose table is called `source`. A `cursor` has name, kind and zone (see cursor.sql).
  Airflow's tasks render these macros, too (include/sql/source). So the macros use nothing of dbt, and call only macros
  for which `render_sql` has a function of the same name.
-#}

{% macro cursor_column(cursor) -%}
    source.{{ postgres_name(cursor.name) }}
{%- endmacro %}

{#-
  The cursor as a moment. When clocks go back in autumn, an hour of local times occurs twice. PostgreSQL takes each for
  its second occurrence, so the moment is never earlier than the change: at worst a row is captured an hour late.
-#}
{% macro cursor_moment(cursor) -%}
    {%- set column = cursor_column(cursor) -%}
    {%- if cursor.kind == 'timestamptz' -%}
        {{ column }}
    {%- elif cursor.kind == 'timestamp' -%}
        {{ column }} at time zone {{ postgres_literal(cursor.zone) }}
    {%- elif cursor.kind == 'date' -%}
        {{ column }}::timestamp at time zone 'UTC'
    {%- else -%}
        {#- Split the number into days and microseconds: a single product with an interval would be rounded as a double. -#}
        (
            timestamp 'epoch' + ({{ column }}::bigint / 86400000000) * interval '1 day'
            + ({{ column }}::bigint % 86400000000) * interval '1 microsecond'
        ) at time zone 'UTC'
    {%- endif -%}
{%- endmacro %}

{#- Predicate: the cursor's moment is in [start, end), both UTC. PostgreSQL can use an index on the cursor for it. -#}
{% macro cursor_within(cursor, start, end) -%}
    {%- set column = cursor_column(cursor) -%}
    {%- if cursor.kind == 'timestamptz' -%}
        {{ column }} >= '{{ start }}+00' and {{ column }} < '{{ end }}+00'
    {%- elif cursor.kind == 'timestamp' and cursor.zone == 'UTC' -%}
        {{ column }} >= '{{ start }}' and {{ column }} < '{{ end }}'
    {%- elif cursor.kind == 'timestamp' -%}
        {#- The last line decides. The two others only let PostgreSQL use an index: no clock goes back by three hours. -#}
        {{ column }} >= timestamptz '{{ start }}+00' at time zone {{ postgres_literal(cursor.zone) }} - interval '3 hours'
        and {{ column }} < timestamptz '{{ end }}+00' at time zone {{ postgres_literal(cursor.zone) }} + interval '3 hours'
        and {{ cursor_moment(cursor) }} >= '{{ start }}+00' and {{ cursor_moment(cursor) }} < '{{ end }}+00'
    {%- elif cursor.kind == 'date' -%}
        {{ column }} >= '{{ (start | string)[:10] }}' and {{ column }} < '{{ (end | string)[:10] }}'
    {%- else -%}
        {{ column }} >= {{ microseconds(start) }} and {{ column }} < {{ microseconds(end) }}
    {%- endif -%}
{%- endmacro %}

{#- Predicate: no window reaches the cursor, because it is null, or before year 1 in some time zone. -#}
{% macro cursor_is_missing(cursor) -%}
    {%- set column = cursor_column(cursor) -%}
    ({{ column }} is null{% if cursor.kind != 'number' %} or {{ column }} < '0001-01-02'{% endif %})
{%- endmacro %}

{#- Predicate: the cursor is later than the source's clock. A number never counts as later. -#}
{% macro cursor_is_ahead(cursor) -%}
    {%- set column = cursor_column(cursor) -%}
    {%- if cursor.kind == 'number' -%}
        false
    {%- elif cursor.kind == 'date' -%}
        {{ column }} > (now() at time zone {{ postgres_literal(cursor.zone) }})::date
    {%- else -%}
        {{ cursor_moment(cursor) }} > now()
    {%- endif -%}
{%- endmacro %}
