-- In a generated shop, all customers, products and sellers have the same `updated_at`. Set it to the time of their use:
-- that of the order for a customer, that of the last sale for a product or a seller, and that of the last purchase for
-- the rows of the other tables. Then a window has about as many rows as in a real shop.

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
