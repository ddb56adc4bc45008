{#- The columns and key that a model's YAML declares, and checks that the lake's table and the model's select agree. -#}

{% macro key_columns() -%}
    {%- set key = config.require('unique_key') -%}
    {{ return([key] if key is string else key) }}
{%- endmacro %}

{#-
  A plain model does not list the column `_batch`, but its table has it. The comments of the key's columns end with a
  mark, by which a later run notices that the key has changed.
-#}
{% macro table_columns() -%}
    {%- set columns = [] -%}
    {%- for column in model.columns.values() -%}
        {%- do columns.append({
            'name': column.name,
            'declared_type': column.data_type,
            'data_type': lake_type(column.data_type),
            'description': column.description | trim ~ (' ' ~ key_mark() if column.name in key_columns() else ''),
        }) -%}
    {%- endfor -%}
    {%- if is_plain() -%}
        {%- do columns.append({
            'name': '_batch',
            'data_type': 'bigint',
            'description': 'Batch of the run that last changed this row.',
        }) -%}
    {%- endif -%}
    {{ return(columns) }}
{%- endmacro %}

{% macro key_mark() -%}
    {{ return('[unique_key]') }}
{%- endmacro %}

{% macro lake_columns() -%}
    {{ return(describe_lake_table().data_types) }}
{%- endmacro %}

{% macro lake_comments() -%}
    {{ return(describe_lake_table().comments) }}
{%- endmacro %}

{#- The key by which the lake's rows were merged, sorted; empty if the table was made by version 0.2 or before. -#}
{% macro lake_key() -%}
    {%- set names = [] -%}
    {%- for name, comment in lake_comments().items() -%}
        {%- do names.append(name) if (comment | string).endswith(key_mark()) -%}
    {%- endfor -%}
    {{ return(names | sort) }}
{%- endmacro %}

{#- Looks up the columns once per invocation of dbt, and keeps them in `graph`, which a later invocation may get, too. -#}
{% macro describe_lake_table() -%}
    {%- set known, table = graph.setdefault('_lake_columns', {}), invocation_id ~ model.unique_id -%}
    {%- if table not in known -%}
        {%- set data_types, comments = {}, {} -%}
        {%- for column in adapter.dispatch('list_lake_columns')() -%}
            {%- do data_types.update({column.name: lake_type(column.data_type)}) -%}
            {%- do comments.update({column.name: column.comment}) -%}
        {%- endfor -%}
        {%- do known.update({table: {'data_types': data_types, 'comments': comments}}) -%}
    {%- endif -%}
    {{ return(known[table]) }}
{%- endmacro %}

{#- dbt's own query lacks the comments, and it reads the name of a column called null as a missing value. -#}
{% macro trino__list_lake_columns() -%}
    {%- set query -%}
        select json_format(cast(map(array['name', 'data_type', 'comment'], array[column_name, data_type, comment]) as json)) as entry
        from {{ this.information_schema() }}.columns
        where
            table_schema = '{{ this.schema | lower }}'
            and table_name = '{{ this.identifier | lower }}'
    {%- endset -%}
    {%- set columns = [] -%}
    {%- for row in run_query(query) -%}
        {%- do columns.append(fromjson(row.entry)) -%}
    {%- endfor -%}
    {{ return(columns) }}
{%- endmacro %}

{% macro spark__list_lake_columns() -%}
    {%- set columns = [] -%}
    {%- for column in adapter.get_columns_in_relation(this) -%}
        {%- do columns.append({
            'name': column.name, 'data_type': column.data_type, 'comment': graph['_described_comments'].get(column.name),
        }) -%}
    {%- endfor -%}
    {{ return(columns) }}
{%- endmacro %}

{#- dbt's hook for the description of a table. dbt leaves out the comments, so they are kept for `spark__list_lake_columns`. -#}
{% macro spark__get_columns_in_relation_raw(relation) -%}
    {%- set rows, comments = run_query('describe extended ' ~ relation), {} -%}
    {%- for row in rows -%}
        {#- Keep the first row of each name: it is the column's. Later rows of the same form describe the table. -#}
        {%- do comments.setdefault(row.col_name, row.comment) -%}
    {%- endfor -%}
    {%- do graph.update({'_described_comments': comments}) -%}
    {{ return(rows) }}
{%- endmacro %}

{% macro definition_changed() -%}
    {%- set is_run = execute and flags.WHICH in ('run', 'build') and env_var('MEDALLION_RUN', '') -%}
    {%- if not is_run or not lake_columns() -%}
        {{ return(false) }}
    {%- endif -%}
    {%- set declared = {} -%}
    {%- for column in table_columns() -%}
        {%- do declared.update({column.name: column.data_type}) -%}
    {%- endfor -%}
    {{ return(declared != lake_columns() or lake_key() not in ([], key_columns() | sort)) }}
{%- endmacro %}

{#- The type by which Iceberg stores a declared type. -#}
{% macro lake_type(data_type) -%}
    {%- set type = data_type | lower | replace(', ', ',') -%}
    {%- if target.type == 'spark' -%}
        {%- set type = 'string' if type.startswith(('varchar', 'char')) else type | replace('numeric', 'decimal') -%}
        {{ return({
            'integer': 'int', 'smallint': 'int', 'tinyint': 'int', 'long': 'bigint', 'float': 'real', 'decimal': 'decimal(10,0)',
            'timestamp_ltz': 'timestamp',
        }.get(type, type)) }}
    {%- endif -%}
    {%- set length = modules.re.search('[(]([0-9]+)[)]', type) -%}
    {%- if type.startswith(('varchar', 'char', 'json')) -%}
        {{ return('varchar') }}
    {%- elif type in ('tinyint', 'smallint', 'int') -%}
        {{ return('integer') }}
    {%- elif type.startswith('time') and (length[1] if length else 3) | int <= 6 -%}
        {{ return(
            ('timestamp(6)' if type.startswith('timestamp') else 'time(6)')
            ~ (' with time zone' if type.endswith('time zone') else '')
        ) }}
    {%- elif type == 'decimal' -%}
        {{ return('decimal(38,0)') }}
    {%- elif type.startswith('decimal') and length -%}
        {{ return(type[:-1] ~ ',0)') }}
    {%- endif -%}
    {{ return(type) }}
{%- endmacro %}

{#-
  The types of the columns that the model selects, by name. Raises a compiler error unless the table's types hold each
  value unchanged: a MERGE would round 0.125 to 0.13. The join has no row, so that the engines read nothing.
-#}
{% macro check_types(columns, select_sql) -%}
    {%- set query -%}
        select
            {% for column in columns if column.name != '_batch' -%}
            typeof(selected.{{ quote_identifier(column.name) }}){{ ',' if not loop.last }}
            {% endfor %}
        from (select 1 as one) as one
        left join (
            {{ select_sql }}
        ) as selected on false
    {%- endset -%}
    {%- set types = run_query(query).rows[0] -%}
    {%- set selected_types, differences = {}, [] -%}
    {%- for column in columns if column.name != '_batch' -%}
        {%- do selected_types.update({column.name: types[loop.index0]}) -%}
        {%- if not holds(column.data_type, lake_type(types[loop.index0])) -%}
            {%- do differences.append(column.name ~ ' is ' ~ types[loop.index0] ~ ', and its data_type ' ~ column.declared_type) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if differences -%}
        {{ exceptions.raise_compiler_error(
            table_name(this) ~ ': the model selects other types than its YAML declares: ' ~ differences | join('; ')
            ~ '. Cast the column in the model, or change its data_type. Nothing was written.'
        ) }}
    {%- endif -%}
    {{ return(selected_types) }}
{%- endmacro %}

{#- Integers of any size pass, because a number that is too large for the lake's type fails the statement anyway. -#}
{% macro holds(lake_type, selected_type) -%}
    {%- set integers = ('int', 'integer', 'bigint') -%}
    {%- if selected_type in (lake_type, 'unknown', 'void') or (selected_type, lake_type) == ('real', 'double') -%}
        {{ return(true) }}
    {%- elif selected_type in integers -%}
        {{ return(lake_type in integers or lake_type.startswith('decimal')) }}
    {%- endif -%}
    {%- set places = modules.re.compile('decimal[(][0-9]+,([0-9]+)[)]') -%}
    {%- set declared, selected = places.fullmatch(lake_type), places.fullmatch(selected_type) -%}
    {{ return(declared and selected and selected[1] | int <= declared[1] | int) }}
{%- endmacro %}

{#- The model's value in the type of the table. A value that the declared type does not hold fails the statement. -#}
{% macro declared_value(column, selected_type=none) -%}
    {%- set name = quote_identifier(column.name) -%}
    {%- set value = 'json_format(%s)' % name if selected_type == 'json' else name -%}
    {%- set stored = 'cast(%s as %s)' % (value, column.data_type) -%}
    {%- set declared = column.declared_type | lower | replace(', ', ',') -%}
    {%- if target.type == 'spark' or declared in (column.data_type, 'decimal', 'int') or declared.startswith('decimal') -%}
        {{ return(stored) }}
    {%- elif declared.startswith(('varchar', 'char')) -%}
        {%- set length = modules.re.search('[0-9]+', declared) -%}
        {%- set is_lost = 'length(rtrim(%s)) > %s' % (stored, length[0] if length else 1) -%}
    {%- elif declared == 'json' -%}
        {%- set is_lost = '%s is not null and try(json_parse(%s)) is null' % (name, stored) -%}
    {%- else -%}
        {%- set is_lost = '%s is distinct from cast(try_cast(%s as %s) as %s)' % (stored, name, declared, column.data_type) -%}
    {%- endif -%}
    {%- set message = table_name(this) ~ ': the type ' ~ declared ~ ' does not hold each value of the column ' ~ column.name
        ~ '. Nothing was written.' -%}
    {{ return('case when %s then %s else %s end' % (is_lost, fail_with([message]), stored)) }}
{%- endmacro %}

{#- An expression that fails the statement. The message's `parts` are alternately a text and an SQL expression. -#}
{% macro fail_with(parts) -%}
    {%- set expressions = [] -%}
    {%- for part in parts -%}
        {%- do expressions.append(part if loop.index is even else text_literal(part)) -%}
    {%- endfor -%}
    {%- set message = 'concat(' ~ expressions | join(', ') ~ ')' if parts | length > 1 else expressions[0] -%}
    {{ return(('raise_error(%s)' if target.type == 'spark' else 'fail(%s)') % message) }}
{%- endmacro %}
