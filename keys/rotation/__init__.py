"""Rotation: one framework for everything that is renewed row by row while it is in use (docs/key-rotation.md).

What others use:

- ``services``: ``start``, ``resume``, ``cancel``, ``progress``, ``as_dict`` (services; admin, portal, commands and jobs
  call these alone),
- ``runner.step``: brings one rotation on for a bounded time; called by the job and in a loop by the commands,
- ``selectors``: rotations for lists and pages,
- ``protocol``: what a kind of rotation is; ``registry.register`` makes one known (in ``AppConfig.ready``),
- ``command.RotationCommand``: the base of every management command that rotates.
"""
