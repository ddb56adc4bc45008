{#- The columns that bronze takes of a source table, their types, and how their values are converted. -#}

{#- Reserved names are left out: Iceberg or a macro here uses them for columns of its own. -#}
{% macro readable_columns(source_relation) -%}
    {%- set reserved = [
        '_file', '_pos', '_deleted', '_spec_id', '_partition', '_row_id', '_last_updated_sequence_number',
        '_commit_snapshot_id', '_change_type', '_change_ordinal',
        '_op', '_hash', '_extracted_at', '_batch', '_key', '_copy',
        '_is_delete', '_source_hash', '_source_version', '_bronze_version', '_latest_updated_at', '_finding',
    ] -%}
    {%- set columns = adapter.get_columns_in_relation(source_relation) -%}
    {% for column in columns | selectattr('name', 'in', reserved) %}
        {% do exceptions.warn(
            'Rename ' ~ source_relation.identifier ~ '.' ~ column.name ~ ' at the source: its name is reserved, and bronze leaves it out'
        ) %}
    {% endfor %}
    {{ return(columns | rejectattr('name', 'in', reserved) | list) }}
{%- endmacro %}

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

{#- A column that Trino does not show would be captured as null. -#}
{% macro check_modelled_columns(source_relation, columns) -%}
    {%- for name in model.columns if name not in columns | map(attribute='name') | list -%}
        {{ exceptions.raise_compiler_error(
            'Trino shows no ' ~ source_relation.identifier ~ '.' ~ name ~ ' at the source. Put the column back, give it a type that'
            ~ ' Trino can read, such as numeric(18,2) for a numeric without precision, or another name if its name is'
            ~ ' reserved; write it in lower case in ' ~ model.original_file_path ~ "'s YAML. Nothing was written."
        ) }}
    {%- endfor -%}
{%- endmacro %}

{% macro iceberg_type(data_type) -%}
    {%- set unchanged = ['boolean', 'integer', 'bigint', 'real', 'double', 'date', 'uuid'] -%}
    {%- if data_type in unchanged or data_type.startswith('decimal') -%}
        {{ return(data_type) }}
    {%- elif data_type.startswith('timestamp') -%}
        {{ return('timestamp(6) with time zone' if data_type.endswith('time zone') else 'timestamp(6)') }}
    {%- elif data_type in ['smallint', 'tinyint'] -%}
        {{ return('integer') }}
    {%- endif -%}
    {{ return('varchar') }}
{%- endmacro %}

{% macro bronze_columns(source_relation, source_columns, data_types) -%}
    {%- set columns = [] -%}
    {%- for column in source_columns -%}
        {%- set data_type = common_type(source_relation, column, data_types[column.name]) -%}
        {%- set name = quote_identifier(column.name) -%}
        {%- do columns.append({
            'name': column.name,
            'quoted': name,
            'data_type': data_type,
            'value': as_text(column) if data_type == 'varchar' else 'cast(' ~ name ~ ' as ' ~ data_type ~ ')',
        }) -%}
    {%- endfor -%}
    {{ return(columns) }}
{%- endmacro %}

{#-
  A column's type at the source may have changed since bronze got it. Bronze's type stays if it takes every value;
  it is widened to the source's if Iceberg can do that. Raises a compiler error otherwise.
-#}
{% macro common_type(source_relation, column, bronze_type) -%}
    {%- set source_type = iceberg_type(column.data_type) -%}
    {%- set wider = {'integer': 'bigint', 'real': 'double'} -%}
    {#- As text, Trino writes these types differently from PostgreSQL: 1.25E1 for 12.5, and a time zone by its name. -#}
    {%- set is_spelled_alike = source_type not in ['real', 'double'] and not source_type.endswith('time zone') -%}
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
    {%- set name = quote_identifier(column.name) -%}
    {%- if not widens -%}
        {{ exceptions.raise_compiler_error(
            source_relation.identifier ~ '.' ~ column.name ~ ' is ' ~ source_type ~ ' at the source now, and ' ~ bronze_type
            ~ ' in ' ~ this ~ ', which cannot hold it. Rename the column in bronze, add a new one and fill it, because'
            ~ ' versions that bronze has are not captured again: alter table ' ~ this ~ ' rename column ' ~ name ~ ' to …;'
            ~ ' alter table ' ~ this ~ ' add column ' ~ name ~ ' ' ~ source_type ~ '; update ' ~ this ~ ' set ' ~ name
            ~ ' = cast(… as ' ~ source_type ~ '). Nothing was written.'
        ) }}
    {%- endif -%}
    {{ log(this ~ ': widens ' ~ column.name ~ ' from ' ~ bronze_type ~ ' to ' ~ source_type, info=true) }}
    {% call statement('widen') %}
        alter table {{ this }} alter column {{ name }} set data type {{ source_type }}
    {% endcall %}
    {{ return(source_type) }}
{%- endmacro %}

{% macro as_text(column) -%}
    {%- set name = quote_identifier(column.name) -%}
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
