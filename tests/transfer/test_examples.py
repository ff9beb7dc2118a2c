import numpy as np
import torch

CPU = torch.device("cpu")


def test_batches_carry_the_labels_of_their_images(examples):
    few = examples.take(np.array([1, 4, 7, 10, 13]))
    known = dict(zip(few.store.index["sample_id"].iloc[few.rows], few.labels))
    loader = few.loader(2, seed=0)
    assert loader.steps_per_epoch == 2
    for batch in loader.iterate(0, 6):
        assert batch.label.tolist() == [known[name] for name in batch.sample_id]
        for image, name in zip(batch.image, batch.sample_id):
            np.testing.assert_array_equal(image, few.store.images[int(name[1:])])


def test_fewer_images_than_a_batch_are_one_batch(examples):
    few = examples.take(np.array([3, 5, 9]))
    names = [batch.sample_id for batch in few.loader(32, seed=0).iterate(0, 3)]
    assert all(sorted(batch) == ["s3", "s5", "s9"] for batch in names)


def test_plain_views_are_in_order_and_standardised(examples):
    views = torch.cat(list(examples.take(np.array([8, 2, 5])).plain(2, CPU)))
    for view, row in zip(views, (8, 2, 5)):
        image = examples.store.images[row].astype(np.float32)
        np.testing.assert_allclose(view, (image - image.mean()) / image.std(), atol=1e-4)


def test_augmented_views_depend_on_seed_and_epoch_only(examples):
    batch = next(examples.loader(8, seed=0).iterate(0, 1))
    first = examples.augmented(batch, 0, 1, CPU)
    torch.testing.assert_close(first, examples.augmented(batch, 0, 1, CPU), rtol=0, atol=0)
    assert (first - examples.augmented(batch, 0, 2, CPU)).abs().max() > 0.1
    assert (first - examples.augmented(batch, 1, 1, CPU)).abs().max() > 0.1


def test_labelled_crops_keep_most_of_the_picture(examples):
    recipe = examples._gentle.recipe("weak")
    assert recipe.geometry.crop_area == (0.8, 1.0)
    assert recipe.geometry.flip == examples.modality.recipe("weak").geometry.flip
    assert examples.modality.recipe("weak").geometry.crop_area == (0.5, 1.0)
