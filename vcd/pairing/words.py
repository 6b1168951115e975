"""Words to say over the telephone: 512 of them, so one is nine bits.

Short, common, and told from each other by their first four letters, and by at least two letters altogether: one wrong
letter makes no other word of the list. The order is part of the protocol: `check` strings are numbers in it.
"""

from __future__ import annotations

from typing import Final

WORDS: Final[tuple[str, ...]] = tuple(
    """
acorn actor album alley almond amber anchor angle apple apron arch arena armor arrow atlas attic autumn awning
bacon badge bagel bakery ballet bamboo banana bandit banjo barley barn barrel basil basket beak beaver beetle
bell bench berry birch bison blouse bonnet border bottle bowl branch bread breeze brick bridge bronze broom
brush bubble bucket budget bugle bundle bunny burger butter cabin cactus camel canal candle cannon canoe canvas
carbon cargo carpet carrot castle cedar celery cement cereal chalk chapel cheese cherry chess chorus cider
cinema circus citrus clay cliff clock clover coal cobra coffee collar comet copper cork corner cotton cousin
cowboy coyote cradle crater crayon crocus crown cymbal daisy dancer denim desert desk dinner domino donkey dough
dragon drawer dress drum duck dune eagle easel echo eel elbow elm engine fabric falcon farmer fence fennel fern
fiddle field finch finger fire flag flask flint floor flute foam forest fossil fox frog frost fruit galaxy
garage garden garlic gecko geyser giant glass glider glove goblet goose grain grape gravel guitar gull halo
hammer harbor harp hazel hedge helmet heron hiker hippo hockey holly honey hood hornet horse hostel hurdle husky
hyena igloo iguana indigo infant ink insect iris iron island ivory ivy jacket jaguar jeans jelly jewel jigsaw
jogger judge jungle jury kayak kernel kettle kidney kimono kite kitten kiwi knight knot koala label ladder
lagoon lamp laptop lasso lava lawyer leaf lemon lentil letter lilac lime linen lion lizard llama locket locust
lodge lotus lumber lunch lynx magnet magpie mango mantle maple marble market marmot meadow medal melon meteor
mirror mosaic moth motor muffin museum napkin narwhal nectar needle nephew nest nickel noodle north novel nugget
nutmeg nylon oak oasis oatmeal ocean octopus office olive omelet onion opal opera orange orbit orchard organ
osprey ostrich otter oven oxygen oyster paddle pajama palace pancake panda panther papaya paper parade parcel
parsley pasta peacock peanut pearl pebble pelican pencil penguin pepper perfume piano picnic pigeon pillow pilot
pine pizza planet plaster plaza plum podium poem polka pond popcorn poppy porch potato pottery prairie pretzel
prince pulley pumpkin puppet purple puzzle pyramid python quail quarry queen quilt quiver rabbit raccoon radar
radio raft raisin raven ravine ribbon rice river robin robot rooster rowboat ruby rudder runway saffron sailor
salad salmon sandal satchel sauce sausage scarf school scooter seagull seal season seaweed shadow shampoo shark
shelf sheriff shovel shrimp shutter sickle silver siren skate sketch sleeve slipper snail snow soap soccer sofa
soldier spaniel sparrow spider spinach sponge spoon squash squid stable stadium stairs statue steam stork stove
subway sugar summer sunset surfer swallow swan sweater swing syrup tablet tadpole tartan tavern teapot temple
tennis tent theater thimble thistle throne thumb thunder ticket tiger timber toast tomato tonic topaz tornado
toucan towel tractor trail trophy trout truffle trumpet tulip tuna tundra tunnel turban turkey turnip turtle
tuxedo twig uncle unicorn uniform urchin vacuum vanilla velvet vessel vinegar violet volcano vulture waffle
wagon walnut walrus waltz wedding whale wheat whisker widget window winter wolf wombat wool wreath yacht yogurt
zebra zenith zephyr zigzag zipper zodiac
""".split()  # noqa: SIM905 - lines of words are easier to look through
)
