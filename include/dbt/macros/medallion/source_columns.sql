{#- The columns that bronze takes of a source table, their types, and how their values are read. -#}

{#-
  A source table, from PostgreSQL's catalog and the model's meta:
  - entries: all columns of the table, as the catalog has them.
  - columns: the columns that bronze takes; `as_value` is the expression for each at the source.
  - condition: SQL that is true. It fails with an error that names the value if bronze cannot hold a value of the key.
  - policies, session: see source_catalog.
-#}
{% macro describe_source(source_relation) -%}
    {%- set table = source_relation.schema ~ '.' ~ source_relation.identifier -%}
    {%- set left_out, hashed = config.meta_get('leave_out', []), config.meta_get('hash', []) -%}
    {%- set columns, unkept, conditions, ungranted = [], [], ['true'], [] -%}
    {%- set entries = read_source_catalog(source_relation) -%}
    {%- for entry in entries if entry.name not in left_out -%}
        {%- if not entry.is_readable -%}
            {%- do ungranted.append(entry.name) -%}
        {%- elif entry.name in hashed -%}
            {%- do columns.append({
                'name': entry.bronze_name,
                'source_name': table ~ '.' ~ entry.name,
                'data_type': 'varchar',
                'description': 'Hash of a column of the source. Captured as: hash.',
                'as_value': 'encode(sha256(convert_to(' ~ entry.as_text ~ ", 'UTF8')), 'hex')",
            }) -%}
        {%- else -%}
            {%- do columns.append({
                'name': entry.bronze_name,
                'source_name': table ~ '.' ~ entry.name,
                'data_type': entry.bronze_type,
                'description': 'Column of the source: ' ~ entry.data_type ~ '.'
                ~ (' Captured as: ' ~ entry.spelling ~ '.' if entry.bronze_type == 'varchar' else ''),
                'as_value': entry.as_value,
            }) -%}
            {%- if entry.fits and entry.bronze_name in config.meta_require('natural_key') -%}
                {%- set message = 'The key column ' ~ table ~ '.' ~ entry.name ~ ', which bronze has as ' ~ entry.bronze_type ~ ', holds ' -%}
                {%- do conditions.append(
                    'case when (' ~ entry.fits ~ ') is not false then true else ('
                    ~ postgres_literal(message) ~ ' || ' ~ entry.as_text ~ ')::boolean end'
                ) -%}
            {%- elif entry.fits -%}
                {%- do unkept.append(entry) -%}
            {%- endif -%}
        {%- endif -%}
    {%- endfor -%}
    {%- for name in config.meta_require('natural_key') if name not in columns | map(attribute='name') | list -%}
        {{ exceptions.raise_compiler_error(
            'The source has no column ' ~ table ~ '.' ~ name ~ ' that its reader may select, and ' ~ model.original_file_path
            ~ ' needs it as key. Nothing was written.'
        ) }}
    {%- endfor -%}
    {%- for name in left_out + hashed if name not in entries | map(attribute='name') | list -%}
        {{ exceptions.raise_compiler_error(
            'The source has no column ' ~ table ~ '.' ~ name ~ ', which leave_out or hash names: see '
            ~ model.original_file_path ~ '. Nothing was written.'
        ) }}
    {%- endfor -%}
    {%- if ungranted -%}
        {% do exceptions.warn(table ~ ': the reader may not select ' ~ ungranted | join(', ') ~ '; bronze leaves that out') %}
    {%- endif -%}
    {%- do columns.append({
        'name': '_unkept',
        'data_type': 'varchar',
        'description': 'Values that the type of their column in bronze cannot hold, so that the column is null: JSON, text by column.',
        'as_value': unkept_values(unkept),
    }) -%}
    {{ return({
        'columns': columns,
        'entries': entries,
        'unkept': unkept,
        'condition': conditions | join(' and '),
        'policies': entries[0].policies,
        'session': entries[0].session,
    }) }}
{%- endmacro %}

{#- The rows come as JSON, because dbt guesses types from values, and a column may be called 1 or null. -#}
{% macro read_source_catalog(source_relation) -%}
    {%- set catalog = source_catalog([(source_relation.schema, source_relation.identifier)]) -%}
    {%- set query = 'select row_to_json(entries)::text as entry from (' ~ catalog ~ ') as entries' -%}
    {%- set entries, taken = [], [] -%}
    {%- for row in run_query('select entry from ' ~ on_source(source_relation, query)) -%}
        {%- set entry = fromjson(row.entry) -%}
        {%- do entry.update({'bronze_name': bronze_name(entry, taken)}) -%}
        {%- do taken.append(entry.bronze_name) -%}
        {%- do entries.append(entry) -%}
    {%- endfor -%}
    {%- if not entries -%}
        {{ exceptions.raise_compiler_error(
            'The source has no table ' ~ source_relation.schema ~ '.' ~ source_relation.identifier ~ '. Nothing was written.'
        ) }}
    {%- endif -%}
    {{ return(entries) }}
{%- endmacro %}

{#-
  A column's name in bronze: in lower case, with a number at its end if an earlier column, or bronze itself, has that
  name. The function `bronze_names` in medallion/names.py does the same.
-#}
{% macro bronze_name(entry, taken) -%}
    {%- set name = entry.name | lower -%}
    {%- set names = [] if entry.is_reserved else [name] -%}
    {%- for number in range(2, taken | length + 3) -%}
        {%- do names.append(name ~ '_' ~ number) -%}
    {%- endfor -%}
    {{ return(names | reject('in', taken) | first) }}
{%- endmacro %}

{% macro unkept_values(entries) -%}
    {%- if not entries -%}
        {{ return('null::text') }}
    {%- endif -%}
    {%- set fits, values = [], [] -%}
    {%- for entry in entries -%}
        {%- do fits.append('(' ~ entry.fits ~ ') is not false') -%}
        {%- do values.append(
            '(' ~ postgres_literal(entry.bronze_name) ~ ', case when not (' ~ entry.fits ~ ') then ' ~ entry.as_text ~ ' end)'
        ) -%}
    {%- endfor -%}
    {#- The first branch is cheap and holds for most rows. Only the others need the subquery. -#}
    {{ return(
        'case when ' ~ fits | join(' and ') ~ ' then null else (select jsonb_object_agg(name, value)::text from (values '
        ~ values | join(', ') ~ ') as unkept (name, value) where value is not null) end'
    ) }}
{%- endmacro %}

{#-
  The rows of a source table that meet `condition`. The result has its columns as c1, c2 and so on, and the columns of
  `computed`. Both arguments are SQL of PostgreSQL.
-#}
{% macro read_source(source_relation, source_table, computed, condition='true') -%}
    {%- set query -%}
        {% if source_table.session %}with session as materialized (select {{ source_table.session }}) {% endif -%}
        select {% for column in source_table.columns %}{{ column.as_value }} as c{{ loop.index }}, {% endfor %}{{ computed }}
        from {{ 'session cross join ' if source_table.session }}{{ postgres_table(source_relation) }} as source
        where {{ condition }} and {{ source_table.condition }}
    {%- endset -%}
    {{ return('select * from ' ~ on_source(source_relation, query)) }}
{%- endmacro %}

{% macro changelog_columns(source_columns, cursor) -%}
    {{ return(source_columns + [
        {
            'name': '_changed_at',
            'data_type': 'timestamp(6) with time zone',
            'description': 'When the source changed the row: its cursor as a moment, or the time that a comparison gave it (UTC).'
            ~ ' Captured as: ' ~ [cursor.name, cursor.kind] | select | join(' ')
            ~ (' in ' ~ cursor.zone if cursor.kind == 'timestamp' else '') ~ '.',
        },
        {
            'name': '_op',
            'data_type': 'varchar',
            'description': 'Operation of the version: `upsert` or `delete`, which has its key only. Captured as: '
            ~ config.meta_require('natural_key') | sort | join(', ') ~ '.',
        },
        {'name': '_hash', 'data_type': 'varchar', 'description': 'MD5 over the columns of the row that are not null, by name.'},
        {
            'name': '_extracted_at',
            'data_type': 'timestamp(6) with time zone',
            'description': 'When the version was first captured (UTC).',
        },
        {
            'name': '_batch',
            'data_type': 'bigint',
            'description': 'Batch of the run that captured the version, or that last found it to be the deciding one.',
        },
    ]) }}
{%- endmacro %}

{#-
  The comments of bronze's columns say by which key, cursor and spelling of text its versions were captured. If one of
  these changed, a window would capture only some rows in the new way, so this raises a compiler error. A comparison
  captures all rows that differ, so it accepts the change, with two exceptions. The moments of a new cursor that is a
  number or a date may be earlier than those in bronze. If row policies may hide rows, old keys can't be deleted.
-#}
{% macro check_captured_as(columns, source_table, cursor, compares) -%}
    {%- set key_columns = ['_op'] + config.meta_require('natural_key') -%}
    {%- for column in columns -%}
        {%- set before = (lake_comments().get(column.name) or '').partition(' Captured as: ')[2] -%}
        {%- set now = column.description.partition(' Captured as: ')[2] -%}
        {%- set is_key = column.name in key_columns -%}
        {%- set needs_new_table = (column.name == '_changed_at' and cursor.kind in ['number', 'date'])
            or (is_key and source_table.policies) -%}
        {%- if before and now and before != now and is_modelled(column.name) and (needs_new_table or not compares) -%}
            {%- set subject = {'_changed_at': 'the cursor', '_op': 'the natural_key'}.get(column.name, column.source_name) -%}
            {%- set remedy -%}
                {% if needs_new_table -%}
                    drop table {{ this }}, trigger medallion_reconcile, and then run `make rebuild`.
                {%- else -%}
                    trigger medallion_reconcile, which captures all rows that differ{{ '; with allow_deletes, because it ends the old keys' if is_key }}.
                {%- endif %}
            {%- endset -%}
            {{ exceptions.raise_compiler_error(
                this ~ ': ' ~ subject ~ ' was captured as ' ~ before[:-1] ~ ', and is ' ~ now[:-1]
                ~ ' now: older versions would not match newer ones. Nothing was written. Undo the change; or accept it: ' ~ remedy
            ) }}
        {%- endif -%}
    {%- endfor -%}
{%- endmacro %}

{#-
  Let the comments of bronze say how its versions are captured now. A run that captures only a window keeps the comment
  of a column that no model names, because older versions may be spelled differently. Because of the old comment the run
  stops as soon as a model names the column.
-#}
{% macro update_comments(columns, compares) -%}
    {%- for column in columns if lake_comments().get(column.name, column.description) != column.description -%}
        {% if compares or is_modelled(column.name) %}
            {% call statement('comment') %}{{ comment_on_column(column) }}{% endcall %}
        {% endif %}
    {%- endfor -%}
{%- endmacro %}

{#-
  If a column's type at the source changes to one that bronze cannot hold, and no model names the column, its table is
  still captured: new versions have null in the column, and the value in `_unkept`.
-#}
{% macro set_aside_changed_columns(source_table, data_types) -%}
    {%- set changed, hashed = [], config.meta_get('hash', []) -%}
    {%- for column in source_table.columns if not common_type(column, data_types[column.name]) and not is_modelled(column.name) -%}
        {%- for entry in source_table.entries if entry.bronze_name == column.name and entry.name not in hashed -%}
            {%- do source_table.unkept.append(dict(entry, fits='false')) -%}
            {%- do column.update({'as_value': 'null::text', 'data_type': data_types[column.name]}) -%}
            {%- do changed.append(column.source_name) -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- if changed -%}
        {%- do (source_table.columns | last).update({'as_value': unkept_values(source_table.unkept)}) -%}
        {% do exceptions.warn(
            changed | join(', ') ~ ': the type at the source changed, and ' ~ this ~ ' cannot hold it. No model names the column:'
            ~ ' new versions have null there, and the value in _unkept'
        ) %}
    {%- endif -%}
{%- endmacro %}

{#-
  Whether a model needs the column: it is the key, bookkeeping, or its name is in the SQL of a model
  that selects from this one. `select *` counts as all names, and so does Jinja other than ref and config: what it
  writes is not known here.
-#}
{% macro is_modelled(column_name) -%}
    {%- set known = '[{][{]-?\\s*(ref|config)[(][^{}]*[)]\\s*-?[}][}]' -%}
    {%- set every_name = '(select(\\s+(distinct|all))?|,|[.])\\s*[*]|[{][{]|[{]%' -%}
    {%- set named = '(?i)(?<!\\w)' ~ modules.re.escape(column_name) ~ '(?!\\w)|' ~ every_name -%}
    {%- set sources = [] -%}
    {%- for node in graph.nodes.values() if model.unique_id in node.depends_on.nodes and node.resource_type == 'model' -%}
        {%- do sources.append(modules.re.sub(known, '', node.raw_code)) -%}
    {%- endfor -%}
    {%- set needed = config.meta_require('natural_key') + ['_changed_at', '_op'] -%}
    {{ return(column_name in needed or modules.re.search(named, sources | join('\n')) is not none) }}
{%- endmacro %}

{#- The columns with their types in bronze, which are widened if necessary. Raises a compiler error if one can't be. -#}
{% macro bronze_columns(source_columns, data_types) -%}
    {%- set columns = [] -%}
    {%- for column in source_columns -%}
        {%- set bronze_type = data_types[column.name] -%}
        {%- set data_type = common_type(column, bronze_type) or refuse_type(column, bronze_type) -%}
        {%- if data_type != bronze_type -%}
            {{ log(this ~ ': widens ' ~ column.name ~ ' from ' ~ bronze_type ~ ' to ' ~ data_type, info=true) }}
            {% call statement('widen') %}
                alter table {{ this }} alter column {{ quote_identifier(column.name) }} set data type {{ data_type }}
            {% endcall %}
        {%- endif -%}
        {%- do columns.append({
            'name': column.name,
            'quoted': quote_identifier(column.name),
            'data_type': data_type,
            'value': 'cast(c' ~ loop.index ~ ' as ' ~ data_type ~ ')',
        }) -%}
    {%- endfor -%}
    {{ return(columns) }}
{%- endmacro %}

{#-
  The type that bronze should have for a column whose type at the source may have changed since bronze got it: bronze's,
  if it takes every value in the same spelling, or the source's, if Iceberg can widen bronze's to it. None for any other:
  the versions that bronze has, and the keys, would no longer be those of the source.
-#}
{% macro common_type(column, bronze_type) -%}
    {%- set source_type = column.data_type -%}
    {%- set wider = {'integer': 'bigint', 'real': 'double'} -%}
    {#- A key may not change from text to a number, because '007' and 7 are different keys. -#}
    {%- set is_spelled_alike = source_type in ['integer', 'bigint'] and column.name not in config.meta_require('natural_key') -%}
    {%- if bronze_type in (source_type, wider.get(source_type)) or (bronze_type == 'varchar' and is_spelled_alike) -%}
        {{ return(bronze_type) }}
    {%- endif -%}
    {%- if bronze_type.startswith('decimal') and source_type.startswith('decimal') -%}
        {%- set bronze_digits, bronze_places = fromjson('[' ~ bronze_type[8:-1] ~ ']') -%}
        {%- set source_digits, source_places = fromjson('[' ~ source_type[8:-1] ~ ']') -%}
        {%- if source_places <= bronze_places and source_digits - source_places <= bronze_digits - bronze_places -%}
            {{ return(bronze_type) }}
        {%- endif -%}
        {%- set widens = source_places == bronze_places -%}
    {%- else -%}
        {%- set widens = source_type == wider.get(bronze_type) -%}
    {%- endif -%}
    {{ return(source_type if widens) }}
{%- endmacro %}

{% macro refuse_type(column, bronze_type) -%}
    {%- set name = quote_identifier(column.name) -%}
    {%- set loss = 'whose versions are spelled differently' if bronze_type == 'varchar' else 'which cannot hold it' -%}
    {{ exceptions.raise_compiler_error(
        column.source_name ~ ' is ' ~ column.data_type ~ ' at the source now, and ' ~ bronze_type ~ ' in ' ~ this ~ ', ' ~ loss
        ~ '. Undo the change at the source, or accept it: rename the column in bronze, add a new one and fill it,'
        ~ ' because versions that bronze has are not captured again: alter table ' ~ this ~ ' rename column ' ~ name
        ~ ' to …; alter table ' ~ this ~ ' add column ' ~ name ~ ' ' ~ column.data_type ~ '; update ' ~ this ~ ' set '
        ~ name ~ ' = cast(… as ' ~ column.data_type ~ '). Then rebuild silver. Nothing was written.'
    ) }}
{%- endmacro %}
