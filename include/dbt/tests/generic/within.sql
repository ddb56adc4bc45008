{#- Every value lies between minimum and maximum, both included; null passes. -#}
{% test within(model, column_name, minimum, maximum) %}
select *
from {{ model }}
where {{ column_name }} < {{ minimum }} or {{ column_name }} > {{ maximum }}
{% endtest %}
