{#- A source table's columns: which of them bronze takes, in which types, and how their values are made. -#}

{#- The columns that Trino shows of a source table, without those by whose names Iceberg, or a macro here, means another. -#}
{% macro readable_columns(source_relation) -%}
    {%- set reserved = [
        '_file', '_pos', '_deleted', '_spec_id', '_partition', '_row_id', '_last_updated_sequence_number',
        '_commit_snapshot_id', '_change_type', '_change_ordinal',
        '_op', '_hash', '_extracted_at', '_batch', '_key', '_copy',
        '_is_delete', '_shown_hash', '_latest_updated_at', '_finding',
    ] -%}
    {%- set shown = adapter.get_columns_in_relation(source_relation) -%}
    {% for column in shown | selectattr('name', 'in', reserved) %}
        {% do exceptions.warn(
            source_relation.identifier ~ '.' ~ column.name ~ ' is left out: its name is reserved. Give it another one at the source'
        ) %}
    {% endfor %}
    {{ return(shown | rejectattr('name', 'in', reserved) | list) }}
{%- endmacro %}

{#- The source's columns in types that Iceberg holds, then the bookkeeping columns that the YAML describes. -#}
{% macro changelog_columns(source_columns) -%}
    {%- set columns = [] -%}
    {%- for column in source_columns -%}
        {%- do columns.append({
            'name': column.name,
            'data_type': iceberg_type(column.data_type),
            'description': model.columns.get(column.name, {}).get('description', 'Column of the source, not modelled yet.'),
        }) -%}
    {%- endfor -%}
    {{ return(columns + (model.columns.values() | selectattr('name', 'in', ['_op', '_hash', '_extracted_at', '_batch']) | list)) }}
{%- endmacro %}

{#- Raises a compiler error for a modelled column that the changelog lacks, as Trino shows none: it would be null. -#}
{% macro check_modelled_columns(columns) -%}
    {%- for name in model.columns if name not in columns | map(attribute='name') | list -%}
        {{ exceptions.raise_compiler_error(
            'Trino shows no ' ~ this.identifier ~ '.' ~ name ~ ' at the source: it is gone, or has a type that Trino cannot'
            ~ ' read, such as numeric without a precision, or a reserved name. Nothing was written. Put it back, or give it'
            ~ ' a type that Trino reads, such as numeric(18,2)'
        ) }}
    {%- endfor -%}
{%- endmacro %}

{% macro iceberg_type(data_type) -%}
    {%- set kept = ['boolean', 'integer', 'bigint', 'real', 'double', 'date', 'uuid'] -%}
    {%- if data_type in kept or data_type.startswith('decimal') -%}
        {{ return(data_type) }}
    {%- elif data_type.startswith('timestamp') -%}
        {{ return('timestamp(6) with time zone' if data_type.endswith('time zone') else 'timestamp(6)') }}
    {%- elif data_type in ['smallint', 'tinyint'] -%}
        {{ return('integer') }}
    {%- endif -%}
    {{ return('varchar') }}
{%- endmacro %}

{#-
  The source's columns as bronze holds them: name, quoted name, type in bronze, and how the value is made of the
  source's, whose type may be one that bronze has no like of, or have changed since.
-#}
{% macro bronze_columns(source_columns, data_types) -%}
    {%- set columns = [] -%}
    {%- for column in source_columns -%}
        {%- set data_type = common_type(column, data_types[column.name]) -%}
        {%- do columns.append({
            'name': column.name,
            'quoted': adapter.quote(column.name),
            'data_type': data_type,
            'value': as_text(column) if data_type == 'varchar' else 'cast(' ~ adapter.quote(column.name) ~ ' as ' ~ data_type ~ ')',
        }) -%}
    {%- endfor -%}
    {{ return(columns) }}
{%- endmacro %}

{#-
  The type in bronze of a column that has `held` there, and may have another one at the source since: bronze's where
  that takes every value; the source's, to which bronze's is widened, where Iceberg can. Raises a compiler error else.
-#}
{% macro common_type(column, held) -%}
    {%- set shown = iceberg_type(column.data_type) -%}
    {%- set wider = {'integer': 'bigint', 'real': 'double'} -%}
    {#- Trino spells these otherwise than PostgreSQL: 1.25E1, and a zone's name. -#}
    {%- set is_spelled_alike = shown not in ['real', 'double'] and not shown.endswith('time zone') -%}
    {%- if held in (shown, wider.get(shown)) or (held == 'varchar' and is_spelled_alike) -%}
        {{ return(held) }}
    {%- endif -%}
    {%- if held.startswith('decimal') and shown.startswith('decimal') -%}
        {%- set held_digits, held_places = fromjson('[' ~ held[8:-1] ~ ']') -%}
        {%- set shown_digits, shown_places = fromjson('[' ~ shown[8:-1] ~ ']') -%}
        {%- if shown_places <= held_places and shown_digits - shown_places <= held_digits - held_places -%}
            {{ return(held) }}
        {%- endif -%}
        {%- set widens = shown_places == held_places -%}
    {%- else -%}
        {%- set widens = shown == wider.get(held) -%}
    {%- endif -%}
    {%- if not widens -%}
        {{ exceptions.raise_compiler_error(
            this.identifier ~ '.' ~ column.name ~ ' is ' ~ shown ~ ' at the source now, and ' ~ held ~ ' in ' ~ this
            ~ ', which cannot hold it as it is. Nothing was written. Give what bronze has another name, add the column anew and'
            ~ ' fill it, for versions that bronze has are not captured again: alter table ' ~ this ~ ' rename column '
            ~ adapter.quote(column.name) ~ ' to …; alter table ' ~ this ~ ' add column ' ~ adapter.quote(column.name) ~ ' '
            ~ shown ~ '; update ' ~ this ~ ' set ' ~ adapter.quote(column.name) ~ ' = cast(… as ' ~ shown ~ ')'
        ) }}
    {%- endif -%}
    {{ log(this ~ ': widens ' ~ column.name ~ ' from ' ~ held ~ ' to ' ~ shown, info=true) }}
    {% call statement('widen') %}
        alter table {{ this }} alter column {{ adapter.quote(column.name) }} set data type {{ shown }}
    {% endcall %}
    {{ return(shown) }}
{%- endmacro %}

{% macro as_text(column) -%}
    {%- set name = adapter.quote(column.name) -%}
    {%- if column.data_type == 'json' -%}
        json_format({{ name }})
    {%- elif column.data_type == 'varbinary' -%}
        lower(to_hex({{ name }}))
    {%- elif column.data_type.startswith(('array', 'map', 'row')) -%}
        json_format(cast({{ name }} as json))
    {%- elif column.data_type.startswith('timestamp') -%}
        regexp_replace(cast({{ name }} as varchar), '\.0+$')
    {%- else -%}
        cast({{ name }} as varchar)
    {%- endif -%}
{%- endmacro %}
