"""From sections to solids: what a plane or a slab through a material shows of the bodies in it."""

from .bodies import StarBody
from .bodies_ct import ct_particles
from .bodies_ellipsoid import Ellipsoid
from .bodies_mesh import Mesh
from .classical import SphereClasses, saltykov, scheil, schwartz_saltykov
from .expectation_maximisation import expectation_maximisation, likeliest_sizes, likeliest_sizes_of_counts
from .field import Frame, number_per_area
from .free_spheres import FreeSpheres
from .label_image import Sections, measure_sections
from .learned_kernel import SectionKernel, section_classes
from .learned_stereology import SizedPrior, SizeMap, learn_size
from .microscope import Microscope
from .polyhedra import box, convex_polyhedron
from .random_sections import random_sections
from .section_fit import SectionFit, fit_sections
from .section_histogram import SectionHistogram
from .section_noise import SectionSizes
from .shape_prior import particle_bodies, particle_shape
from .size_families import family
from .size_measures import section_sizes
from .sizes import Sizes
from .sizes_free import FreeSizes
from .spheres import section_cdf, section_density, section_moment, sphere_density
from .spheres_model import Spheres
from .spheroids_model import SpheroidSections
from .spheroids_unfolding import SpheroidClasses, unfold_spheroids

__all__ = [
    "Ellipsoid",
    "Frame",
    "FreeSizes",
    "FreeSpheres",
    "Mesh",
    "Microscope",
    "SectionFit",
    "SectionHistogram",
    "SectionKernel",
    "SectionSizes",
    "Sections",
    "SizeMap",
    "SizedPrior",
    "Sizes",
    "SphereClasses",
    "Spheres",
    "SpheroidClasses",
    "SpheroidSections",
    "StarBody",
    "box",
    "convex_polyhedron",
    "ct_particles",
    "expectation_maximisation",
    "family",
    "fit_sections",
    "learn_size",
    "likeliest_sizes",
    "likeliest_sizes_of_counts",
    "measure_sections",
    "number_per_area",
    "particle_bodies",
    "particle_shape",
    "random_sections",
    "saltykov",
    "scheil",
    "schwartz_saltykov",
    "section_cdf",
    "section_classes",
    "section_density",
    "section_moment",
    "section_sizes",
    "sphere_density",
    "unfold_spheroids",
]
