"""A sample of the Olist data set, which has real orders. The tests that need it are skipped if it is missing.

Its nine CSV files are in the folder of the environment variable OLIST. Without this variable, they are in
`../shared/olist`, beside the project's folder.
"""

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("OLIST") or Path(__file__).parents[3] / "shared" / "olist")
needs_olist = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"{FOLDER} has no sample of Olist: set OLIST")
# Number of rows of each file, taken from the sample's description. Two rows of geolocation are outside Brazil.
ROWS = {
    "orders": 8_135,
    "order_items": 8_365,
    "order_payments": 8_924,
    "order_reviews": 8_225,
    "customers": 8_135,
    "products": 5_460,
    "sellers": 1_610,
    "geolocation": 45_928,
    "product_category_name_translation": 71,
}
