-- In a generated shop customers, products and sellers all have the same time. Give each the time of its use: a customer
-- that of the order, a product or seller that of the last sale, everything else that of the last purchase. A window
-- then finds as many rows as in a real shop.

update sales.customers
set updated_at = orders.order_purchase_timestamp::timestamp at time zone 'UTC'
from sales.orders
where customers.customer_id = orders.customer_id;

update sales.products
set updated_at = sold.at
from (select product_id, max(updated_at) as at from sales.order_items group by product_id) as sold
where products.product_id = sold.product_id;

update sales.sellers
set updated_at = sold.at
from (select seller_id, max(updated_at) as at from sales.order_items group by seller_id) as sold
where sellers.seller_id = sold.seller_id;

update sales.geolocation
set updated_at = (select max(updated_at) from sales.order_items);

update sales.product_category_name_translation
set updated_at = (select max(updated_at) from sales.order_items);
