"""Sign-in with django-allauth: its adapters, forms and signals as this product needs them."""
