"""The URL table of the workshop."""

from django.urls import path

from generation.views import costs, describing, gallery, history, media, projects, requests, studio, uploads

urlpatterns = [
    path("", studio.studio, name="studio"),
    path("requests/new/", requests.create, name="request_create"),
    path("requests/<uuid:pk>/card/", requests.card, name="request_card"),
    path("requests/<uuid:pk>/cancel/", requests.cancel, name="request_cancel"),
    path("requests/<uuid:pk>/front/", requests.front, name="request_front"),
    path("requests/<uuid:pk>/retry/", requests.retry, name="request_retry"),
    path("history/", history.history, name="history"),
    path("costs/", costs.mine, name="costs"),
    path("costs/costs.csv", costs.mine_csv, name="costs_csv"),
    path("costs/all/", costs.everybody, name="costs_all"),
    path("costs/all/costs.csv", costs.everybody_csv, name="costs_all_csv"),
    path("uploads/new/", uploads.create, name="upload_create"),
    path("uploads/<uuid:pk>/picture/", uploads.picture, name="upload_picture"),
    path("uploads/<uuid:pk>/describe/", describing.upload, name="upload_describe"),
    path("projects/", projects.index, name="project_list"),
    path("projects/new/", projects.create, name="project_create"),
    path("projects/<uuid:pk>/", gallery.gallery, name="project_gallery"),
    path("projects/<uuid:pk>/trash/", gallery.trash, name="project_trash"),
    path("projects/<uuid:pk>/members/", projects.members, name="project_members"),
    path("images/<uuid:pk>/", gallery.detail, name="image_detail"),
    path("images/<uuid:pk>/describe/", describing.image, name="image_describe"),
    path("images/<uuid:pk>/trash/", gallery.image_trash, name="image_trash"),
    path("images/<uuid:pk>/restore/", gallery.image_restore, name="image_restore"),
    path("images/<uuid:pk>/download/", media.download, name="image_download"),
    path("images/<uuid:pk>/picture.png", media.picture, name="image_picture"),
    path("images/<uuid:pk>/thumb.webp", media.thumb, name="image_thumb"),
]
