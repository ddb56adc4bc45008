{#- Orders of which the order itself, an item or a payment changed since the last publication. -#}
{% macro changed_orders() -%}
    select order_id from {{ ref('stg_orders') }} where {{ is_changed() }}
    union
    select order_id from {{ ref('stg_order_items') }} where {{ is_changed() }}
    union
    select order_id from {{ ref('stg_order_payments') }} where {{ is_changed() }}
{%- endmacro %}
