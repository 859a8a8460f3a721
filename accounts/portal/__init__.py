"""The portal's frame: who may see a page, the landing page, account security, the people of a tenant."""
